"""What rule scripts run in: log files, locks, resumable work, parallel work."""
