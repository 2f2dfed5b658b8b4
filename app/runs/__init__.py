"""The Runs page: ``run_dir`` reads the folders of training runs; no Streamlit."""
