"""Values and protocols that every other part of decodelab shares; imports nothing of ours."""
