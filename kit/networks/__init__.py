"""Three networks and how they are trained. torch stands behind this wall."""
