"""Text files that users bring: opened whatever their compression, cut into records; the same for every verb. No Beam."""
