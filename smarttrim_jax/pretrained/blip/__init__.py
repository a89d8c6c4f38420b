"""BLIP: conversion of checkpoints of the official code and of Hugging Face to our parameters and back."""
