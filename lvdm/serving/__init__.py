"""Videos over HTTP: requests become jobs that survive a restart, and one thread makes them by `lvdm.jobs`."""
