-- Health of a VirtualTable for Argo CD, by conditions and generation alone (deploy/gitops/truth.yaml says what comes out).
local health = {status = "Progressing", message = "Waiting for the operator"}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end
if status.observedGeneration ~= obj.metadata.generation then
  health.message = "The latest spec is not acted upon yet"
  return health
end
local stalled, reconciling, ready = found["Stalled"], found["Reconciling"], found["Ready"]
if stalled ~= nil and stalled.status == "True" then
  health.status = "Degraded"
  health.message = stalled.message
elseif reconciling ~= nil and reconciling.status == "True" then
  health.message = reconciling.message
elseif ready ~= nil and ready.status == "True" then
  if obj.spec ~= nil and obj.spec.suspend == true then
    health.status = "Suspended"
  else
    health.status = "Healthy"
  end
  health.message = ready.message
elseif ready ~= nil then
  health.message = ready.message
end
return health
