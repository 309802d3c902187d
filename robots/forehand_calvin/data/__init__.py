"""Files of CALVIN, Copyright (c) 2021 Oier Mees, under the licence in ``LICENSE`` (MIT).

chains.json: the thousand chains; tasks.yaml: success conditions; validation_sentences.yaml: one sentence for each of the
34 tasks; training_sentences.yaml: those of the annotated data.
"""
