"""Training of verifiers: networks that tell, from graded answers, how probably a text will turn out right."""
