"""Parts of the Compare page: ``maps`` lays the networks' maps beside one another."""
