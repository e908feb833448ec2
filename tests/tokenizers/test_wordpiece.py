"""WordPiece: known pieces, files, fingerprints, bad vocabularies."""
