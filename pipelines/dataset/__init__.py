"""The dataset on its own: records, manifest, card, report; what readers and writers agree on. No Beam."""
