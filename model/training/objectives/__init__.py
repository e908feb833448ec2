"""What training minimises and what it is measured by, as sums that are divided once."""
