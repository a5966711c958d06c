"""The paper's figures and tables, from training to the results page, by one command."""
