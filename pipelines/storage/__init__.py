"""Files and locks of a build, on a disk or in an object store."""
