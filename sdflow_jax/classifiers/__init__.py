"""Attribute classifiers from labeled pictures: the training classifier C and the evaluation classifier."""
