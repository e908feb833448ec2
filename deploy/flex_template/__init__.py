"""The Flex Template of Dataflow: what its launcher runs inside the image."""
