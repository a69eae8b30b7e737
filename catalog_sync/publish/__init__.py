"""A static site from the table: a page, JSON, CSV, a feed and a calendar.

Values in, bytes out. There is no clock in it: the same values give the same bytes, and what
depends on the present day is left to the reader's browser. Only `folder` touches a disk. Of a
source no more than its name is told, and nothing at all of how the job fares.
"""

from catalog_sync.publish.contents import KINDS, Contents
from catalog_sync.publish.files import render
from catalog_sync.publish.folder import Folder

__all__ = ["KINDS", "Contents", "Folder", "render"]
