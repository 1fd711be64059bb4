"""Makes model folders for fkinv of the checkpoints that the models' authors publish."""
