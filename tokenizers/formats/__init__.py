"""Formats of vocabularies: word pieces, byte pairs, SentencePiece models, the files of Hugging Face; read and checked."""
