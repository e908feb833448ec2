"""What a sweep tries and when it stops a run: functions of its settings and measures that know nothing of workflows."""
