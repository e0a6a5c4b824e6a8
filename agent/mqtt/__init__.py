"""MQTT: the daemon watched and commanded through a broker, which can neither slow nor stop it."""
