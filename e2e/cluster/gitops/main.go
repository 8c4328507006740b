// Says what GitOps tools make of resources: kstatus and the expressions of Flux by the code that the tools run, the script of Argo CD by the same Lua,
// opened as Argo CD opens it. It reads {"expressions": {...}, "script": "...", "resources": [...]} from standard input, and writes a verdict of each resource;
// of {"action": "...", "resources": [...]} what the script of an action, or of their discovery, returns for each.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type question struct {
	Expressions kustomize.HealthCheckExpressions `json:"expressions"`
	Script      string                           `json:"script"`
	Action      string                           `json:"action"`
	Resources   []json.RawMessage                `json:"resources"`
}

type verdict struct {
	Kstatus string `json:"kstatus"`
	Flux    string `json:"flux"`
	Argo    string `json:"argo"`
}

func main() {
	if err := answer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answer() error {
	var asked question
	decoder := json.NewDecoder(os.Stdin)
	if err := decoder.Decode(&asked); err != nil {
		return err
	}
	if asked.Action != "" {
		return act(&asked)
	}
	flux, err := cel.NewStatusEvaluator(&asked.Expressions)
	if err != nil {
		return err
	}
	verdicts := []verdict{}
	for _, resource := range asked.Resources {
		// As from an API server: whole numbers are integers.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(resource); err != nil {
			return err
		}
		generic, err := status.Compute(object)
		if err != nil {
			return err
		}
		custom, err := flux.Evaluate(context.Background(), object)
		if err != nil {
			return err
		}
		health, err := argo(asked.Script, object.Object)
		if err != nil {
			return err
		}
		verdicts = append(verdicts, verdict{string(generic.Status), string(custom.Status), health})
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

// act writes what an action's script returns.
func act(asked *question) error {
	returned := []any{}
	for _, resource := range asked.Resources {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(resource); err != nil {
			return err
		}
		result, err := run(asked.Action, object.Object)
		if err != nil {
			return err
		}
		returned = append(returned, plain(result))
	}
	return json.NewEncoder(os.Stdout).Encode(returned)
}

// libraries are what Argo CD opens for a script, but for its `os`, in which there is only the time.
var libraries = []struct {
	name string
	open lua.LGFunction
}{
	{lua.LoadLibName, lua.OpenPackage},
	{lua.BaseLibName, lua.OpenBase},
	{lua.TabLibName, lua.OpenTable},
}

// argo says what the health script says.
func argo(script string, resource map[string]any) (string, error) {
	health, err := run(script, resource)
	if err != nil {
		return "", err
	}
	return lua.LVAsString(health.RawGetString("status")), nil
}

// run runs a script as Argo CD does: in gopher-lua with few libraries, with the resource in `obj`. What it returns is a table.
func run(script string, resource map[string]any) (*lua.LTable, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range libraries {
		open := lua.P{Fn: state.NewFunction(library.open), NRet: 0, Protect: true}
		if err := state.CallByParam(open, lua.LString(library.name)); err != nil {
			return nil, err
		}
	}
	state.SetGlobal("obj", value(state, resource))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	returned, isTable := state.Get(-1).(*lua.LTable)
	if !isTable {
		return nil, fmt.Errorf("the script returns a %s", state.Get(-1).Type())
	}
	return returned, nil
}

func value(state *lua.LState, of any) lua.LValue {
	switch of := of.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, one := range of {
			table.RawSetString(key, value(state, one))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, one := range of {
			table.Append(value(state, one))
		}
		return table
	case string:
		return lua.LString(of)
	case bool:
		return lua.LBool(of)
	case int64:
		return lua.LNumber(of)
	case float64:
		return lua.LNumber(of)
	default:
		return lua.LNil
	}
}

// plain is the way back. What is empty in Lua is neither a list nor a map: it becomes null.
func plain(of lua.LValue) any {
	switch of := of.(type) {
	case *lua.LTable:
		if of.Len() > 0 {
			list := []any{}
			of.ForEach(func(_, one lua.LValue) { list = append(list, plain(one)) })
			return list
		}
		var fields map[string]any
		of.ForEach(func(key, one lua.LValue) {
			if fields == nil {
				fields = map[string]any{}
			}
			fields[lua.LVAsString(key)] = plain(one)
		})
		if fields == nil {
			return nil
		}
		return fields
	case lua.LString:
		return string(of)
	case lua.LBool:
		return bool(of)
	case lua.LNumber:
		return float64(of)
	default:
		return nil
	}
}
