"""Attribute classifiers from labelled pictures: the training classifier C and the evaluation classifier."""
