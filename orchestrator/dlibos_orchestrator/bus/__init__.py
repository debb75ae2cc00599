"""The control plane's bus: MQTT over a unix socket in the mesh's directory. Read topics.py and rights.py first."""
