"""The job with dlt, which walks the API and merges into the table by key.

Run: python dlt_merge.py BASE_URL DATABASE_URL
"""

import sys

import dlt
from dlt.sources.helpers import requests


def main(base_url, database_url):
    """Bring the table in line with the list."""

    @dlt.resource(name="models", primary_key="id", write_disposition="merge")
    def models():
        query = {"limit": 1000}
        while True:
            page = requests.get(f"{base_url}/v1/models", params=query).json()
            yield page["data"]
            if not page["has_more"]:
                return
            query["after_id"] = page["last_id"]

    if database_url.startswith("sqlite:"):
        destination = dlt.destinations.sqlalchemy(database_url)
    else:
        destination = dlt.destinations.postgres(database_url)
    # Its working directory belongs to one database: beside it, where the benchmark deletes both.
    pipeline = dlt.pipeline(
        "benchmark", destination=destination, dataset_name="main", pipelines_dir="dlt"
    )
    print(pipeline.run(models()))


main(*sys.argv[1:])
