"""The faults that can be switched on, and the code that injects them.

Serves            every part in which a fault can occur, and the control API that switches them.
Owns              which faults are on, how often each has occurred, and the venue's clock (a fault
                  skews it).
Must not import   a protocol, ``lifecycle`` or ``chain``: they ask ``Faults``, never the reverse.
"""
