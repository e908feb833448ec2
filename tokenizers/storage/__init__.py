"""Files on disks and in object stores: opened, written whole, owned, locked, and why they could not be."""
