from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["llmrec*"]), "llmrec.prompt_files"])  # the last is prompts/, see pyproject.toml
