"""Following a stream: which windows a run takes, in which order it reads their rows."""
