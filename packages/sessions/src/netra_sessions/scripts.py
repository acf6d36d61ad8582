"""The Lua that runs inside Redis; record.py draws the entry whose positions stand here.

An epoch is twelve digits, so that text compares as numbers do.
"""

import hashlib
from dataclasses import dataclass

# What TOUCH answers when it has no session to return.
ABSENT, FORGOTTEN, BEHIND = 0, 1, 2

# KEYS: entry, epoch. ARGV: epoch, now, idle lifetime, coarse step, the same less the time that one write to
# PostgreSQL is given, time to live (ms)[, device, address].
# Answers '1' or '0' (is a write to PostgreSQL due?) and the session's JSON, or one of the numbers above. Who
# is told '1' has the time to write and to say so by SAVED; if nobody does, a later use is told again.
_TOUCH = """
local found = redis.call('MGET', KEYS[1], KEYS[2])
local entry, epoch = found[1], found[2]
if not epoch then return 1 end
if epoch < ARGV[1] then return 2 end
if not entry or string.sub(entry, 1, 12) ~= epoch then return 0 end
local now = tonumber(ARGV[2])
local last = tonumber(string.sub(entry, 71, 85))
if now >= tonumber(string.sub(entry, 13, 27)) or now - last >= tonumber(ARGV[3]) then return 0 end
local due = '0'
if now - tonumber(string.sub(entry, 28, 42)) >= tonumber(ARGV[4]) then
  due = '1'
  redis.call('SETRANGE', KEYS[1], 27, string.format('%15d', now - ARGV[5]))
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
if now < last then now = last end
local seen = string.format('%15d,"requests":%12d', now, string.sub(entry, 98, 109) + 1)
if not ARGV[7] then
  redis.call('SETRANGE', KEYS[1], 70, seen)
  return due .. string.sub(entry, 55, 70) .. seen .. string.sub(entry, 110)
end
local body = string.find(entry, ',"id":"', 110, true)
local address = string.find(entry, ',"address":', 110, true)
local client = string.sub(entry, 110, address - 1)
if ARGV[7] ~= '' then client = ',"device":' .. ARGV[7] end
if ARGV[8] ~= '' then
  client = client .. ',"address":' .. ARGV[8]
else
  client = client .. string.sub(entry, address, body - 1)
end
local session = string.sub(entry, 55, 70) .. seen .. client .. string.sub(entry, body)
if client == string.sub(entry, 110, body - 1) then
  redis.call('SETRANGE', KEYS[1], 70, seen)
else
  local head = redis.call('GETRANGE', KEYS[1], 0, 53)
  redis.call('SET', KEYS[1], head .. session, 'KEEPTTL')
end
return due .. session
"""

# KEYS: epoch, entry… ARGV: epoch, time to live (ms), the fence that may be lifted (or ''), value…
# Answers how many were put in, or -1 when the epoch moved on.
_INSTALL = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local installed = 0
for i = 2, #KEYS do
  local new = ARGV[i + 2]
  local old = redis.call('GET', KEYS[i])
  local keep = false
  if old and string.sub(old, 1, 1) == 'F' then
    keep = old ~= ARGV[3]
  elseif old and #old > 110 then
    keep = string.sub(old, 1, 12) == ARGV[1]
      and tonumber(string.sub(old, 43, 54)) >= tonumber(string.sub(new, 43, 54))
    if not keep then
      local last = math.max(tonumber(string.sub(old, 71, 85)), tonumber(string.sub(new, 71, 85)))
      local requests = math.max(tonumber(string.sub(old, 98, 109)), tonumber(string.sub(new, 98, 109)))
      new = string.sub(new, 1, 70) .. string.format('%15d,"requests":%12d', last, requests)
        .. string.sub(new, 110)
    end
  end
  if not keep then
    redis.call('SET', KEYS[i], new, 'PX', ARGV[2])
    installed = installed + 1
  end
end
return installed
"""

# KEYS: entry… ARGV: fence, time to live (ms). Puts fences in the place of entries, and answers the entries.
_FENCE = """
local found = {}
for i = 1, #KEYS do
  found[i] = redis.call('GET', KEYS[i])
  redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
end
return found
"""

# KEYS: epoch, server. ARGV: epoch, '1' if it is a new one. Answers the epoch that now holds, or nil; with a
# minus before it where this server was restarted or promoted since, so that its memory may be of the past:
# both give it a new replication id.
_ADVANCE = """
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local epoch = redis.call('GET', KEYS[1])
local same = redis.call('GET', KEYS[2]) == server
if (ARGV[2] == '1' or epoch and same) and (not epoch or epoch < ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[2], server)
  return ARGV[1]
end
return epoch and (same and epoch or '-' .. epoch)
"""

# KEYS: entry. ARGV: the contents seen (from ',"id"' on). Drops the entry if it still holds them.
_DROP = """
local entry = redis.call('GET', KEYS[1])
if entry and string.sub(entry, -#ARGV[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

# KEYS: entry… ARGV: instant (ms)… Notes until when PostgreSQL knows the entries' activity.
_SAVED = """
for i = 1, #KEYS do
  local entry = redis.call('GET', KEYS[i])
  if entry and #entry > 110 then redis.call('SETRANGE', KEYS[i], 27, string.format('%15d', ARGV[i])) end
end
return 0
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the digest Redis knows it by."""

    text: str
    sha: str


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


TOUCH = _script(_TOUCH)
INSTALL = _script(_INSTALL)
ADVANCE = _script(_ADVANCE)
RAISE = _script(_FENCE)
DROP = _script(_DROP)
SAVED = _script(_SAVED)
