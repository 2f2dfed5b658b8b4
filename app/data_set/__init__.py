"""Parts of the Data set page: ``flipping`` says where along tau answers change."""
