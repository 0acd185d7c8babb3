"""Stories: a script of shots becomes first frames, videos of `lvdm.jobs`, and a film."""
