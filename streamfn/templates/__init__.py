"""SAM and CloudFormation templates: read as an app, and written of one."""

from streamfn.templates.honouring import NotHonoured as NotHonoured
from streamfn.templates.loading import Template as Template
from streamfn.templates.loading import load as load
from streamfn.templates.resources import Stack as Stack
