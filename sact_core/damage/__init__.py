"""What damage does to answers and to cost, and how dear one image can be made.

``python -m sact_core.damage kinds`` shows images that are damaged in five ways (`kinds`,
`measured`); ``python -m sact_core.damage worst`` looks for the dearest image and makes
images dearer on purpose (`worst`).
"""
