"""Where documents come from: folders and files. ``linnet.data.files.scan`` lists them all."""
