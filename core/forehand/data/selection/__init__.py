"""Selection of what is used of a dataset: episodes, frames that move, a split, and the sentences that are said."""
