"""Encoders as what is protected: the ownership code in an encoder's own weights."""
