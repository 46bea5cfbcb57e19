"""What bench/run and bench/counts share: tools, processes, subjects, works, answers, reports."""
