"""What DVC logs, which a tool replaces with lines of its own."""

import logging

LIBRARIES = ("dvc", "dvc_data", "dvc_objects")


def handled_by(handler: logging.Handler) -> None:
    """Give what DVC and its libraries log to the `handler` alone."""
    for library in LIBRARIES:
        logging.getLogger(library).handlers = [handler]
