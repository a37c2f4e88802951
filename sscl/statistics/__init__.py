"""Pure numbers: the effects of marks on answers, and exact tests of which word they fit."""
