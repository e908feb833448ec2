"""The `clozekit` command: a file a verb with its options and what it runs. Nothing else imports this room."""
