"""A user's package: extensions of the library that change no line of it."""
