"""What whoever lets others make videos decides: how much they may ask for, which models they may name, who they are."""
