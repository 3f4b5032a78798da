// The ticket server that people write in Go: net/http, the AWS SDK v2 and its PresignPostObject. See README.md.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	minBytes     = 1
	maxBytes     = 1 << 30
	maxBodyBytes = 16 << 10
	expires      = 60 * time.Second
)

var types = map[string]bool{"image/gif": true, "image/jpeg": true, "image/png": true, "image/webp": true}

type uploadRequest struct {
	Type string `json:"type"`
	Size *int64 `json:"size"`
	Name string `json:"name"`
}

type ticket struct {
	Method string            `json:"method"`
	URL    string            `json:"url"`
	Fields map[string]string `json:"fields"`
	Key    string            `json:"key"`
}

type server struct {
	bucket string
	client *s3.PresignClient
}

func (s *server) upload(response http.ResponseWriter, request *http.Request) {
	var wanted uploadRequest
	if json.NewDecoder(http.MaxBytesReader(response, request.Body, maxBodyBytes)).Decode(&wanted) != nil {
		http.Error(response, "not a request for a ticket", http.StatusBadRequest)
		return
	}
	if !types[wanted.Type] {
		http.Error(response, "type not allowed", http.StatusUnsupportedMediaType)
		return
	}
	least, most := int64(minBytes), int64(maxBytes)
	if wanted.Size != nil {
		if *wanted.Size < minBytes || *wanted.Size > maxBytes {
			http.Error(response, "size not allowed", http.StatusRequestEntityTooLarge)
			return
		}
		least, most = *wanted.Size, *wanted.Size
	}
	var id [16]byte
	rand.Read(id[:])
	key := "public/" + hex.EncodeToString(id[:])
	fields := map[string]string{"Content-Type": wanted.Type, "success_action_status": "201"}
	post, err := s.client.PresignPostObject(
		request.Context(),
		&s3.PutObjectInput{Bucket: aws.String(s.bucket), Key: aws.String(key)},
		func(options *s3.PresignPostOptions) {
			options.Expires = expires
			options.Conditions = []any{[]any{"content-length-range", least, most}}
			for name, value := range fields {
				options.Conditions = append(options.Conditions, map[string]string{name: value})
			}
		},
	)
	if err != nil {
		log.Print(err)
		http.Error(response, "cannot sign", http.StatusInternalServerError)
		return
	}
	for name, value := range post.Values {
		fields[name] = value
	}
	answer, err := json.Marshal(ticket{Method: "POST", URL: post.URL, Fields: fields, Key: key})
	if err != nil {
		log.Print(err)
		http.Error(response, "cannot encode", http.StatusInternalServerError)
		return
	}
	header := response.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	response.Write(answer)
}

// allowOrigin answers preflight requests, and lets the pages of one origin read the answers.
func allowOrigin(origin string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		header := response.Header()
		header.Set("Vary", "Origin")
		if request.Header.Get("Origin") == origin {
			header.Set("Access-Control-Allow-Origin", origin)
			if request.Method == http.MethodOptions {
				header.Set("Access-Control-Allow-Methods", "POST")
				header.Set("Access-Control-Allow-Headers", "Content-Type")
				response.WriteHeader(http.StatusNoContent)
				return
			}
		}
		next.ServeHTTP(response, request)
	})
}

func main() {
	client := s3.New(s3.Options{
		Region: os.Getenv("AWS_REGION"),
		Credentials: credentials.NewStaticCredentialsProvider(
			os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), "",
		),
	})
	s := &server{bucket: os.Getenv("BUCKET"), client: s3.NewPresignClient(client)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /upload", s.upload)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), allowOrigin(os.Getenv("ORIGIN"), mux)))
}
