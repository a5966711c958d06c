"""The comparison of methods: the paper's figures and tables, from training to the results page."""
