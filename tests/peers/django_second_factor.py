"""Calls the module second_factor, which is in the directory of the argument, in a Django project. Reads one
call per line, [function, user, argument...] as JSON. A user that is not there is made."""

import json
import sys

import django_project

django_project.start()
sys.path.insert(0, sys.argv[1])
import second_factor
from django.contrib.auth import get_user_model

for line in sys.stdin:
    function, name, *arguments = json.loads(line)
    users = get_user_model().objects
    user = users.filter(pk=name).first() if name.isdigit() else users.filter(username=name).first()
    user = user or django_project.new_user(name)
    print(json.dumps(getattr(second_factor, function)(user, *arguments)), flush=True)
