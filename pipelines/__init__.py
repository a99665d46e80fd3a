"""Programs that a user starts: the command line, the job graph, and the commands around a run."""
