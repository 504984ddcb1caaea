"""Training, distilling and repairing a network: the options, the losses, the loop, and what resumes it."""
