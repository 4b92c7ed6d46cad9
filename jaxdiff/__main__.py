"""`python -m jaxdiff`: the command line without a script on the path."""

from jaxdiff.cli import app

if __name__ == "__main__":
    app(prog_name="jaxdiff")
