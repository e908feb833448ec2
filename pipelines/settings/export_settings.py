"""Names of the formats that `export` writes; pipelines/export_formats.py has the record of each. No Beam."""

EXPORT_FORMATS = ("padded", "parquet", "tfds")
