"""The name model: our own tagger, trained by ``deploy/models/ner``, in plain numpy."""
