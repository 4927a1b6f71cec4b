"""The course on a JupyterHub for a class: see ``jupyterhub_config.py``."""
