"""The web page: the declaration as controls, jobs as buttons. Needs the extra `app` (gradio)."""
