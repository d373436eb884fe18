package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

type event struct {
	Do, Text, Message string
	Seconds           float64
	Size              int
	Value             any
}

func main() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/"
	if os.Getenv("FAIL_INIT") != "" {
		post(api+"init/error", map[string]any{"errorType": "ValueError", "errorMessage": "no init", "requestId": ""})
		os.Exit(1)
	}
	for count := 1; ; count++ {
		next, err := http.Get(api + "invocation/next")
		if err != nil {
			os.Exit(2)
		}
		body, _ := io.ReadAll(next.Body)
		next.Body.Close()
		at := api + "invocation/" + next.Header.Get("Lambda-Runtime-Aws-Request-Id")
		var e event
		json.Unmarshal(body, &e)
		switch e.Do {
		case "raise":
			post(at+"/error", map[string]any{"errorType": "ValueError", "errorMessage": e.Message})
			continue
		case "hang":
			time.Sleep(time.Hour)
		case "sleep":
			time.Sleep(time.Duration(e.Seconds * float64(time.Second)))
		case "die":
			os.Exit(3)
		case "print":
			fmt.Println(e.Text)
		case "large":
			post(at+"/response", strings.Repeat("x", e.Size))
			continue
		case "write":
			err := os.WriteFile(e.Text, bytes.Repeat([]byte("x"), e.Size), 0o600)
			post(at+"/response", fmt.Sprint(err))
			continue
		case "environ":
			post(at+"/response", os.Environ())
			continue
		case "leak":
			var kept [][]byte
			for {
				kept = append(kept, bytes.Repeat([]byte("x"), 1<<20))
			}
		}
		var sent struct{ Custom any }
		json.Unmarshal([]byte(next.Header.Get("Lambda-Runtime-Client-Context")), &sent)
		deadline := int64(0)
		fmt.Sscan(next.Header.Get("Lambda-Runtime-Deadline-Ms"), &deadline)
		post(at+"/response", map[string]any{
			"value":     e.Value,
			"count":     count,
			"requestId": next.Header.Get("Lambda-Runtime-Aws-Request-Id"),
			"arn":       next.Header.Get("Lambda-Runtime-Invoked-Function-Arn"),
			"trace":     next.Header.Get("Lambda-Runtime-Trace-Id"),
			"custom":    sent.Custom,
			"left":      deadline - time.Now().UnixMilli(),
			"arguments": os.Args,
		})
	}
}

func post(to string, value any) {
	body, _ := json.Marshal(value)
	answer, err := http.Post(to, "application/json", bytes.NewReader(body))
	if err == nil {
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}
